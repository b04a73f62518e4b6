#!/usr/bin/env python3
"""Print a fingerprint of every code point as Python and scikit-learn see it, as `characters.rs` of the artefact crate computes
its own, and the ranges of word characters and digits. The tables there are those of Python 3.11 (Unicode 14).

usage: python_characters.py [ranges]
"""
import re, sys, unicodedata


def ranges(matches):
    out = []
    for code in range(0x110000):
        if matches(chr(code)):
            if out and out[-1][1] == code - 1:
                out[-1][1] = code
            else:
                out.append([code, code])
    return out


def strip(text):
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def fingerprint():
    value = 0xCBF29CE484222325
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        c = chr(code)
        flags = "".join("1" if re.match(p, c) else "0" for p in (r"\w", r"\d", r"\s"))
        ascii_only = unicodedata.normalize("NFKD", c).encode("ASCII", "ignore").decode("ASCII")
        for byte in f"{code:x} {flags} {c.lower()}|{strip(c)}|{ascii_only}\n".encode():
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


if sys.argv[1:] == ["ranges"]:
    for pattern in (r"\w", r"\d"):
        print(pattern, ", ".join(f"(0x{a:X}, 0x{b:X})" for a, b in ranges(lambda c: re.match(pattern, c))))
print(fingerprint())
