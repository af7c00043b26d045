"""Whole images: windows, segmentation, exports, overlays."""
