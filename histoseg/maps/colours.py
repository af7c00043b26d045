"""The colours that tell classes apart, in tables' pictures and on images alike."""

# Okabe & Ito (2008), Color Universal Design: distinguishable under all common colour blindnesses.
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
BLACK = "#000000"  # The eighth of theirs
WHITE = "#FFFFFF"


def to_rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour written as #RRGGBB."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
