"""Samples as WebDataset tars with an index: written once, read at random, checked byte for byte."""
