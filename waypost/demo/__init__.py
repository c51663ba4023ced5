"""The main job from end to end, as `waypost demo` shows it: people, messages, what came of them, and the proof."""
