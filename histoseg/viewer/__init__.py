"""`histoseg view DIR`: results of whole slides in a browser, from a small server on this machine."""
