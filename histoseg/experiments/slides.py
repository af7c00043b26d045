"""A cohort of whole slides through a model: `make submit EXP=slides SLIDES=folder MODEL=folder`.

Settings of `histoseg segment` are assignments here: SET="mask=none windows.window_px=512".
"""

from histoseg.runs.catalog import COHORT
from histoseg.slides.options import SegmentOptions

KIND = COHORT
SCALES = {"laptop": SegmentOptions()}  # The usual scale; how large windows are depends on the GPU alone.
