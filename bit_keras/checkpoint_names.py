"""Names of weights: ours, and those in the official files of each family."""

import re
from collections.abc import Iterable

# The kernel of BiT's classifier, a 1x1 convolution in the official files.
BIT_HEAD = "resnet/head/conv2d/kernel"
# Of a ViT: the one array that depends on the size of the images.
POSITIONS = "Transformer/posembed_input/pos_embedding"

# Of a ViT's head with a hidden layer, as in the first official files of
# ImageNet-21k.  No network here has one: vit_jax drops it, too, to fine-tune.
HIDDEN = "pre_logits/"

# From our variable paths to the names in the official files, tried in order.
# BiT: block1_unit01/a_group_norm/gamma ->
# resnet/block1/unit01/a/group_norm/gamma.
_BIT = (
    (r"^root_block_", "root_block/"),
    (r"^(block\d+)_(unit\d+)/a_proj_", r"\1/\2/a/proj/"),
    (r"^(block\d+)_(unit\d+)/([abc])_", r"\1/\2/\3/"),
    # The official head is a 1x1 convolution.
    (r"^head/", "head/conv2d/"),
    (r"^", "resnet/"),
)
# ViT and MLP-Mixer, of google-research/vision_transformer: Flax numbers the
# modules of a ViT block across types, those of a Mixer block within.
_NORM = ((r"/gamma$", "/scale"), (r"/beta$", "/bias"))
_VIT = (
    *_NORM,
    (r"^positions/cls$", "cls"),
    (r"^positions/", "Transformer/posembed_input/"),
    (r"^encoder", "Transformer/encoder"),
    (r"/norm_0/", "/LayerNorm_0/"),
    (r"/norm_1/", "/LayerNorm_2/"),
    (r"/attention/attention_output/", "/attention/out/"),
    (r"/attention/", "/MultiHeadDotProductAttention_1/"),
    (r"/mlp/dense_", "/MlpBlock_3/Dense_"),
)
_MIXER = (
    *_NORM,
    (r"^embedding/", "stem/"),
    (r"/norm_", "/LayerNorm_"),
    (r"_mixing/dense_", "_mixing/Dense_"),
)


def official_keys(variable_paths: Iterable[str]) -> dict[str, str]:
    """Returns the official name of each of a network's variables.

    Batch norm, which no official file has, follows the same rule.

    Args:
        variable_paths: Of all variables: they tell the family.

    Returns:
        Path -> official name.

    Example:

    >>> path = "block1_unit01/a_proj_standardized_conv2d/kernel"
    >>> official_keys([path])[path]
    'resnet/block1/unit01/a/proj/standardized_conv2d/kernel'
    >>> list(official_keys(["encoderblock_0/norm_1/gamma"]).values())
    ['Transformer/encoderblock_0/LayerNorm_2/scale']
    """
    paths = list(variable_paths)
    renames = _BIT
    if any(path.startswith("encoderblock_") for path in paths):
        renames = _VIT
    elif any(path.startswith("MixerBlock_") for path in paths):
        renames = _MIXER
    return {path: _rename(path, renames) for path in paths}


def _rename(path: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        path = re.sub(pattern, replacement, path)
    return path


def is_head(key: str) -> bool:
    """Whether an official name is of the classifier's arrays.

    >>> is_head("resnet/head/conv2d/bias"), is_head("head/kernel")
    (True, True)
    """
    return key.startswith(("resnet/head/", "head/", HIDDEN))
