"""Writes crates/ueo/assets/negative_words.txt, the words that `--score negative-labels` chooses from.

    python tools/words/negative_words.py /usr/share/wordnet

The folder is the dictionary of WordNet 3.0 (Debian's package wordnet-base 1:3.0). A word is taken when it is a single
lower-case word, its first noun sense is something that a photograph can show, and that sense occurs at least twice in WordNet's
tagged texts.
"""

import pathlib
import sys

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "crates/ueo/assets/negative_words.txt"
# Lexicographer files of nouns (lexnames(5WN)): animal, artifact, body, food, object, phenomenon, plant, substance.
VISIBLE = {"05", "06", "08", "13", "17", "19", "20", "27"}
FEWEST_OCCURRENCES = 2
LENGTHS = range(3, 15)
# Animals to WordNet, something else to most captions.
AMBIGUOUS = {"ass", "tit"}


def words(cntlist):
    """From lines `lemma%ss_type:lex_filenum:lex_id:: sense_number tag_cnt`; ss_type 1 is a noun."""
    for line in cntlist.splitlines():
        key, sense, count = line.split()
        lemma, rest = key.split("%")
        kind, file = rest.split(":")[:2]
        plain = lemma.isascii() and lemma.isalpha() and lemma.islower() and len(lemma) in LENGTHS and lemma not in AMBIGUOUS
        if kind == "1" and file in VISIBLE and sense == "1" and int(count) >= FEWEST_OCCURRENCES and plain:
            yield lemma


if __name__ == "__main__":
    found = sorted(set(words((pathlib.Path(sys.argv[1]) / "cntlist.rev").read_text())))
    OUTPUT.write_text("".join(f"{word}\n" for word in found))
    print(f"{len(found)} words: {OUTPUT}")
