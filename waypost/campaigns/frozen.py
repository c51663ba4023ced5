"""What a run keeps of its campaign: the definition as it was, with the versions it is pinned to."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict

from waypost.campaigns.definition import CampaignDefinition


class FrozenContent(BaseModel):
    """A variant and the template's version that it sends."""

    model_config = ConfigDict(frozen=True)

    name: str
    weight: int
    template_id: UUID
    template_version: int


class FrozenRun(BaseModel):
    """The `definition` column of a run."""

    model_config = ConfigDict(frozen=True)

    definition: CampaignDefinition
    contents: tuple[FrozenContent, ...]
