"""The version of this package. Values only."""

VERSION = "0.1.0"
