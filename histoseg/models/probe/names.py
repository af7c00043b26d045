"""Names of encoders, of their weights and of heads."""

RESNETS = ("resnet18", "resnet34", "resnet50")
TIMM = "timm/"  # What names of timm's encoders begin with
PRETRAINED = "pretrained"  # The weights that timm itself knows of an encoder
PROJECTION = "projection"  # The head that SimCLR trains by
