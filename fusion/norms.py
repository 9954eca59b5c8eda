"""The names of normalisations, for settings and blocks; a setting can be read where there is no MXNet."""

from __future__ import annotations

#: How a global branch may normalise its vectors: see `fusion.attention.GlobalContext`.
NORMS = ("batch", "group", "layer", "none")

#: What may stand in the place of every batch norm: see `fusion.models.normalisation.use_norm_layer`.
NORM_LAYERS = ("batch", "group")
