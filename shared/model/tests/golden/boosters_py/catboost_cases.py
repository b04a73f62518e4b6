"""Models of CatBoost."""


def make(cases):
    pass
