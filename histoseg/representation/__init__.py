"""The learned representation: pooled features of patches as an encoder has them. Biomarkers: `histoseg.features`."""
