"""Growing a data set with a pathologist: regions that a model finds difficult, out to be corrected and back again.

Cerberus (Graham et al. 2023), Sec. 3.4.
"""
