"""How a network learns: one file for each method, whose name is the public name.

A method is a frozen dataclass, named METHOD in its file, whose fields are its hyperparameters. What needs torch is
imported where it is used, or lies in a private module that is: data is prepared without torch.
"""
