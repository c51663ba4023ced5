// Keeps the list fresh while nobody reads or types; sends replies from the phone. The page works without it.
const list = document.querySelector("[data-live]");
if (list) {
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch(location.href).catch(() => null);
    if (!answer || !answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const name of ["[data-live]", ".figures"]) {
      const here = document.querySelector(name), there = fresh.querySelector(name);
      if (here && there && here.innerHTML !== there.innerHTML) here.innerHTML = there.innerHTML;
    }
  }, 2000);
}
const talk = document.querySelector(".talk");
if (talk) talk.scrollTop = talk.scrollHeight;
const reply = document.querySelector("form.reply");
if (reply) {
  reply.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(reply));
    if (!fields.body) return;
    const answer = await fetch("/control/twilio/inbound", { method: "POST", body: JSON.stringify(fields) });
    if (answer.ok) location.reload();
    else alert((await answer.json()).error);
  });
}
