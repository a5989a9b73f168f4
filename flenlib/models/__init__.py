"""Families of models behind five verbs: load, encode, predict, sample, save."""
