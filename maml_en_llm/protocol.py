"""MetaICL's published protocol in numbers: seeds, file names, limits, leaks.

Source: MetaICL (Min et al. 2022, arXiv 2110.15943) and its public code. The page
"The protocol" of the book says all of it in words; "protocol n.m" in a docstring is a
section of that page.
"""

# The demonstration seeds of the published benchmark (protocol 1.2).
SEEDS = (100, 13, 21, 42, 87)

SHOTS = 16  # demonstrations of a target task and seed

# A file's names inside its task's folder, best first (protocol 1.2).
TRAIN_FILES = ("{task}_16384_100_train", "{task}_mt_train", "{task}_train")
TEST_FILES = ("{task}_16_100_test", "{task}_test")
DEMONSTRATION_FILE = "{task}_16_{seed}_train"
ENDINGS = (".jsonl", ".jsonl.gz")

# A target: the meta-training task made of the same data (protocol 0.7).
LEAKS = {"wino_grande": "unifiedqa:winogrande_xl"}

# How an example is written (protocol 2.1): p(answer | text) or p(text | answer), and
# what stands before an example and between its two pieces.
MODES = ("direct", "channel")
SEPARATORS = {"newline": ("\n\n\n", "\n"), "space": (" ", " ")}
