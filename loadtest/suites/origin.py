#!/usr/bin/env python3
"""Writes loadtest/data/diabetes_origin.csv: what scikit-learn itself predicts for the rows that the fault runs send.

usage: origin.py   (needs scikit-learn and skops; reads the sample registry's version 1, writes into loadtest/data)

One line a row of diabetes_scaled.csv, one prediction for each of STEPS values of the third feature (bmi): its own, and then
STEP more each time. Both sides compute that value alike, in double precision: bmi + number * STEP.
"""
import csv
import pathlib
import warnings

import numpy as np
import skops.io

STEPS, STEP, VARIED = 24, 0.002, 2

warnings.filterwarnings("ignore")
DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
MODEL = DATA.parent.parent / "shared/model/sample/diabetes-rf-model/1/model.skops"
model = skops.io.load(MODEL, trusted=["sklearn.tree._tree.Tree"])
with open(DATA / "diabetes_scaled.csv", newline="") as file:
    rows = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
varied = []
for row in rows:
    for number in range(STEPS):
        other = list(row)
        other[VARIED] = row[VARIED] + number * STEP
        varied.append(other)
predictions = model.predict(np.asarray(varied)).tolist()
with open(DATA / "diabetes_origin.csv", "w") as file:
    for at in range(0, len(predictions), STEPS):
        file.write(",".join(repr(value) for value in predictions[at : at + STEPS]) + "\n")
