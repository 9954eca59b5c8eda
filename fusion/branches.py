"""Context branches before they are built: what a block states of its passes, and what the logits of branches become.

Source: "Attentional Feature Fusion", arXiv 2009.14082, section 3.1; the branches themselves are in `fusion.attention`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Tuple, Type, Union

from .attention import GlobalContext, LocalContext
from .operators import repeat_over_pixels

#: The reduction of a branch that has its block's r.
OWN = 0


@dataclass(frozen=True)
class Branch:
    """A context branch before it is built.

    Attributes
    ----------
    context : type
        `LocalContext` or `GlobalContext`.
    reduction : int, optional
        Of its bottleneck, `OWN` for that of the block. None is a single convolution.
    logits : int
        How many it makes per channel.
    """

    context: Type[Union[LocalContext, GlobalContext]]
    reduction: Optional[int] = None
    logits: int = 1

    def build(self, channels: int, r: int, norm: str, features: int, logits: int = 1) -> Any:
        """The branch of a block.

        Parameters
        ----------
        channels, r, norm
            Of the block.
        features : int
            Channels of what the branch looks at.
        logits : int
            How many inputs it makes logits for, beside its own `logits`.
        """
        reduction = r if self.reduction == OWN else self.reduction
        keywords: Dict[str, Any] = {"in_channels": features, "out_channels": channels * max(self.logits, logits)}
        if self.context is GlobalContext:
            keywords["norm"] = norm
        return self.context(channels, reduction, **keywords)


#: Attribute name of each branch, with the branch.
Pass = Mapping[str, Branch]

#: Local context: one convolution, a bottleneck of C / r channels, two convolutions of all C channels.
L1, L2, L2_full = (Branch(LocalContext, reduction) for reduction in (None, OWN, 1))

#: Global context, likewise.
G1, G2, G2_full = (Branch(GlobalContext, reduction) for reduction in (None, OWN, 1))

#: What `contexts` may be: each word is a branch of the pass.
CONTEXTS = (("local", "global"), ("local",), ("global",), ("local", "local"), ("global", "global"))

_CONTEXT_CLASSES: Dict[str, Type[Any]] = {"local": LocalContext, "global": GlobalContext}


def choose_contexts(passes: Sequence[Pass], contexts: Optional[Sequence[str]], title: str) -> Tuple[Pass, ...]:
    """The passes of a block with other contexts than its own.

    Parameters
    ----------
    passes : sequence of Pass
        The block's own.
    contexts : sequence of str, optional
        One of `CONTEXTS`. Two branches keep the names of the block's own two, so that ("local", "local") is the
        ablation's `ResLocaLocaCha` where the block is AFF; a single one is named after its context.
    title : str
        Of the block, for the message.

    Raises
    ------
    ValueError
        If that is none of them, or the block has not both contexts to choose from.
    """
    if contexts is None:
        return tuple(passes)
    if isinstance(contexts, str) or tuple(contexts) not in CONTEXTS:
        known = ", ".join(str(each) for each in CONTEXTS)
        raise ValueError(f"contexts={contexts!r}: expected one of {known}")
    return tuple(_with_contexts(branches, contexts, title) for branches in passes)


def _with_contexts(branches: Pass, contexts: Sequence[str], title: str) -> Pass:
    names = {branch.context: name for name, branch in branches.items()}
    if len(names) != len(_CONTEXT_CLASSES):
        raise ValueError(
            f"contexts={tuple(contexts)!r}: {title} has one context by its definition; choose among the contexts of a "
            "block that has both, such as 'aff'"
        )
    reduction = next(iter(branches.values())).reduction
    wanted = [Branch(_CONTEXT_CLASSES[word], reduction) for word in contexts]
    if len(wanted) == 1:
        return {names[wanted[0].context]: wanted[0]}
    return dict(zip((names[LocalContext], names[GlobalContext]), wanted))


def weight_logits(F: Any, branches: Iterable[Any], features: Any) -> Tuple[Optional[Any], Optional[Any]]:
    """The summed logits of local branches (B, ·, H, W) and of global ones (B, ·, 1, 1), None where there is none."""
    local, pooled = None, None
    for branch in branches:
        logits = branch(features)
        if isinstance(branch, GlobalContext):
            pooled = logits if pooled is None else pooled + logits
        else:
            local = logits if local is None else local + logits
    return local, pooled


def sigmoid_weight(F: Any, branches: Iterable[Any], features: Any, like: Optional[Any] = None) -> Any:
    """The sigmoid of the sum of the logits of branches, all of which look at the same features (B, ·, H, W).

    The weight has the shape of `like` (B, C, H, W), which are the features unless it is given.
    """
    like = features if like is None else like
    local, pooled = weight_logits(F, branches, features)
    if local is None:  # One weight per channel: the sigmoid of a vector is cheaper than that of a map.
        return repeat_over_pixels(F, F.Activation(pooled, act_type="sigmoid"), like)
    if pooled is not None:
        local = local + repeat_over_pixels(F, pooled, like)
    return F.Activation(local, act_type="sigmoid")
