"""Taps: where the attention weights of somebody else's module are read, before dropout and with their gradient.

A tap is put on a module once and taken off again (`close`). A first forward pass shows which layers there are; from
then on the chosen one shows its weights and the others run as they always did.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

FUNCTION = "ssan"  # our attention function, as `transformers` knows it
# Names that libraries give to the dropout of attention weights: what enters it are the weights.
DROPOUTS = ("attn_drop", "attn_dropout", "dropout", "attention_dropout")


class Tap:
    """Reads the weights of layer `layer` among the modules in which attention happens, in order of call.

    Attributes:
        weights: of the forward pass that is watched, None while none is.
        chosen: the module whose weights are kept, None until `settle`.
        instead: weights -> weights that take their place, where `transformers` asks for them; None leaves them.
    """

    def __init__(self, layer: int, what: str) -> None:
        self.layer, self.what = layer, what
        self.weights: list[Tensor] | None = None
        self.chosen: nn.Module | None = None
        self.instead: Callable[[Tensor], Tensor] | None = None
        self._called: list[nn.Module] = []
        self._undo: list[Callable[[], object]] = []

    def close(self) -> None:
        """Leave the module as it was found."""
        while self._undo:
            self._undo.pop()()

    def shows(self, module: nn.Module) -> bool:
        """Whether `module` is to compute weights; the same whenever it runs, also again for a checkpoint."""
        if self.chosen is None and self.weights is not None:
            self._called.append(module)
        return module is self.chosen

    def keep(self, weights: Tensor) -> None:
        """Take note of weights, if a forward pass is watched."""
        if self.weights is not None:
            self.weights.append(weights)

    def _expect(self, seen: list) -> None:
        if not seen:
            raise ValueError(f"the model ran without any attention weights being seen at {self.what}")

    def last(self) -> Tensor:
        """The weights of the forward pass that is watched."""
        self._expect(self.weights)
        return self.weights[-1]

    def settle(self) -> None:
        """Choose the layer, after one forward pass has called them all."""
        called, self._called = self._called, []
        self._expect(called)
        if not -len(called) <= self.layer < len(called):
            raise IndexError(f"there is no layer {self.layer}: the model has {len(called)} layers with attention")
        self.chosen = called[self.layer]


class FunctionTap(Tap):
    """Transformers that look their attention function up by name: ours computes what SDPA does and shows weights."""

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(layer, "the attention function of transformers")
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(FUNCTION, attend)
        AttentionMaskInterface.register(FUNCTION, sdpa_mask)  # without it padding is attended to
        before = module.config._attn_implementation
        module.set_attn_implementation(FUNCTION)
        self._undo.append(lambda: module.set_attn_implementation(before))
        for each in module.modules():  # the function is handed the module that calls it, and asks for its tap
            each._ssan_tap = self
            self._undo.append(lambda each=each: each.__dict__.pop("_ssan_tap", None))


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options):
    """What `transformers` calls for attention: SDPA, but for the layer whose weights are wanted."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    tap = getattr(module, "_ssan_tap", None)
    if tap is None or not tap.shows(module):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    groups = key.shape[1] and query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scale = options.get("scaling")
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scale is None else scale)
    causal = options.get("is_causal")
    if attention_mask is None and (getattr(module, "is_causal", True) if causal is None else causal):
        attention_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attention_mask is not None:
        hidden = attention_mask.dtype == torch.bool
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~attention_mask, lowest) if hidden else scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32)
    if tap.instead is not None:
        weights = tap.instead(weights)
    tap.keep(weights)
    dropped = nn.functional.dropout(weights.to(value.dtype), options.get("dropout", 0.0))
    return (dropped @ value).transpose(1, 2).contiguous(), weights


class DropoutTap(Tap):
    """Modules that compute weights in Python and drop some: the weights are what enters the dropout (timm, ViLT)."""

    def __init__(self, modules: list[nn.Module], layer: int, what: str) -> None:
        super().__init__(layer, what)
        for module in modules:
            if getattr(module, "fused_attn", False):
                module.fused_attn = False
                self._undo.append(lambda module=module: setattr(module, "fused_attn", True))
            hook = partial(self._entering, module)
            self._undo.append(_dropout_of(module).register_forward_pre_hook(hook).remove)

    def _entering(self, module: nn.Module, _: nn.Module, args: tuple) -> None:
        if self.shows(module):
            self.keep(args[0])


class MultiheadTap(Tap):
    """`nn.MultiheadAttention`, asked for weights whatever its caller says; its fast path stands aside for hooks."""

    def __init__(self, root: nn.Module, modules: list[nn.Module], layer: int) -> None:
        super().__init__(layer, "nn.MultiheadAttention")
        for module in modules:
            self._undo.append(module.register_forward_hook(self._seen, with_kwargs=True).remove)
        for encoder in root.modules():
            if isinstance(encoder, nn.TransformerEncoder) and encoder.use_nested_tensor:
                encoder.use_nested_tensor = False  # nested tensors have no weights
                self._undo.append(lambda encoder=encoder: setattr(encoder, "use_nested_tensor", True))

    def _seen(self, module: nn.MultiheadAttention, args: tuple, kwargs: dict, _: tuple) -> None:
        # Computed again: with dropout the module itself would give weights after it, and mean over heads.
        if self.shows(module):
            rate, module.dropout = module.dropout, 0.0
            try:
                asked = kwargs | {"need_weights": True, "average_attn_weights": False}
                self.keep(type(module).forward(module, *args, **asked)[1])
            finally:
                module.dropout = rate


class OutputTap(Tap):
    """A module whose output is the weights, or a tuple whose last tensor is."""

    def __init__(self, module: nn.Module, what: str) -> None:
        super().__init__(-1, what)
        self._undo.append(module.register_forward_hook(self._seen).remove)

    def _seen(self, module: nn.Module, _: tuple, output: object) -> None:
        parts = output if isinstance(output, tuple | list) else (output,)
        tensors = [part for part in parts if isinstance(part, Tensor)]
        if tensors and self.shows(module):
            self.keep(tensors[-1])


def find_tap(module: nn.Module, path: str | None, layer: int) -> Tap:
    """The tap that fits `module`, or its submodule at `path`.

    A ValueError if nothing known is found, or the path leads nowhere.
    """
    if path is not None:
        return _tap_at(module, path)
    if hasattr(module, "set_attn_implementation"):
        if module._can_set_attn_implementation():
            return FunctionTap(module, layer)
        if kept := [each for each in module.modules() if _dropout_of(each) and "SelfAttention" in type(each).__name__]:
            return DropoutTap(kept, layer, "the attention of " + type(module).__name__)
    if fused := [each for each in module.modules() if hasattr(each, "fused_attn") and _dropout_of(each)]:
        return DropoutTap(fused, layer, "the attention of timm")
    if multihead := [each for each in module.modules() if isinstance(each, nn.MultiheadAttention)]:
        return MultiheadTap(module, multihead, layer)
    named = [name for name, _ in module.named_modules() if "att" in name.rpartition(".")[2].lower()]
    raise ValueError(
        f"found no attention in {type(module).__name__} that ssan knows how to read: say attention='path.of.a.module' "
        f"(modules by that name: {', '.join(named[:5]) or 'none'}) or attention=a function of the module's output"
    )


def _tap_at(module: nn.Module, path: str) -> Tap:
    names = dict(module.named_modules())
    if path not in names or not path:
        near = difflib.get_close_matches(path, names, n=3, cutoff=0.4)
        raise ValueError(f"{type(module).__name__} has no module {path!r}: did you mean {' or '.join(near) or 'none'}?")
    target = names[path]
    if isinstance(target, nn.MultiheadAttention):
        return MultiheadTap(module, [target], -1)
    if hasattr(target, "fused_attn"):
        return DropoutTap([target], -1, path)
    return OutputTap(target, path)


def _dropout_of(module: nn.Module) -> nn.Module | None:
    """What drops its attention weights, where it is a module."""
    named = (getattr(module, name, None) for name in DROPOUTS)
    return next((each for each in named if isinstance(each, nn.Module)), None)


def patches(module: nn.Module, config: Any | None) -> tuple[tuple[int, int] | None, str]:
    """The (rows, columns) of a vision transformer's patches, None if unknown, and the query that answers.

    `cls` is the first position, `mean` all of them: networks that average their patches have no other.
    """
    said = config is not None and not hasattr(config, "vocab_size")
    for each in [config] if said else module.modules():  # a user's head may stand around it
        side = getattr(getattr(each, "patch_embed", None), "grid_size", None)
        if side is not None:  # timm
            marked = getattr(each, "global_pool", "token") == "token" and getattr(each, "num_prefix_tokens", 0) > 0
            return tuple(side), "cls" if marked else "mean"
        if hasattr(each, "grid_size") and hasattr(each, "class_embedding"):  # open_clip
            return tuple(each.grid_size), "mean" if getattr(each, "pool_type", "tok") == "avg" else "cls"
        size, patch = getattr(each, "image_size", None), getattr(each, "patch_size", None)
        if isinstance(size, int) and isinstance(patch, int):  # transformers, torchvision
            return (size // patch,) * 2, "cls"
    return None, "cls"
