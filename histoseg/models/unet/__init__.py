"""The U-Net of MetaHistoSeg."""
