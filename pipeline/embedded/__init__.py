"""Embedded engines: small real models behind the vendor's protocols."""
