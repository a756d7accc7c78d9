"""How many floating-point operations the mathematics of a step on ViT-B/16 needs, for the share of the machine's rate.

A multiplication and an addition count as two. Weights are frozen, so a linear layer's backward pass is one product of the size of
its forward pass. What an implementation recomputes to save memory is not counted, nor are LayerNorm, softmax and activations.
"""

from __future__ import annotations

PATCHES, WIDTH, LAYERS = 196, 768, 12
TEXT_WIDTH, TEXT_LAYERS = 512, 12
# [SOS] and four context vectors, computed once for all classes.
PREFIX = 5
# Names of one to four tokens, 2.5 on average, the full stop and [EOS].
OWN_TOKENS = 4.5


def block_products(images: int = 16, tokens: int = 1 + PATCHES, width: int = WIDTH) -> dict[str, float]:
    """The four linear layers of a block, forward."""
    each = 2 * images * tokens * width * width
    return {"qkv": 3 * each, "out": each, "fc": 4 * each, "proj": 4 * each}


def vision_forward(images: int) -> tuple[float, float, float]:
    """Patch embedding, linear layers and attention of the vision tower.

    Only the class token leaves the last block, so that block needs keys and values of all tokens and the rest for one.
    """
    tokens = 1 + PATCHES
    linear = 24 * WIDTH * WIDTH
    last = tokens * 4 * WIDTH * WIDTH + 20 * WIDTH * WIDTH
    attention = 4 * tokens * WIDTH
    return (
        images * PATCHES * 2 * WIDTH * WIDTH,
        images * ((LAYERS - 1) * tokens * linear + last),
        images * ((LAYERS - 1) * tokens + 1) * attention,
    )


def text_forward(classes: int) -> tuple[float, float]:
    """Linear layers and attention of the text tower, the shared prefix once.

    Only [EOS] of each class leaves the last block.
    """
    tokens = PREFIX + classes * OWN_TOKENS
    linear = 24 * TEXT_WIDTH * TEXT_WIDTH
    last = tokens * 4 * TEXT_WIDTH * TEXT_WIDTH + classes * 20 * TEXT_WIDTH * TEXT_WIDTH
    attention = 4 * (PREFIX + OWN_TOKENS) * TEXT_WIDTH
    return (
        (TEXT_LAYERS - 1) * tokens * linear + last,
        ((TEXT_LAYERS - 1) * tokens + classes) * attention,
    )


def encoding_flops(images: int) -> float:
    """The image tower, forward only."""
    return sum(vision_forward(images))


def step_flops(images: int, classes: int) -> float:
    """Forward and backward of both towers. The patch embedding has no backward pass: nothing in front of it is trained."""
    embedding, linear, attention = vision_forward(images)
    text_linear, text_attention = text_forward(classes)
    # Attention's backward pass has four products where its forward pass has two.
    return embedding + 2 * (linear + text_linear) + 3 * (attention + text_attention)
