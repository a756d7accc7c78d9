"""Captions of drawings: the words of an icon's name in one of several templates."""

# The first is CLIP's own and the one that class names are put into; the others keep the text tower from depending on it.
TEMPLATES = (
    "a photo of a {}.",
    "a drawing of a {}.",
    "an icon of a {}.",
    "a picture of a {}.",
    "a symbol of a {}.",
    "a {}.",
    "{}",
    "a simple {} on a plain background.",
)
PROMPT = TEMPLATES[0]
# How often each template is drawn: the class prompt most, because it is what the model is used with.
SHARES = (0.44, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08)
