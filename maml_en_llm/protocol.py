"""MetaICL's published protocol in numbers: seeds, file names, leaks."""

SEEDS = (100, 13, 21, 42, 87)  # the demonstration seeds of the published benchmark


LEAKS = {
    "wino_grande": "unifiedqa:winogrande_xl"
}  # a target: the meta-training task made of the same data


TRAIN_FILES = ("{task}_16384_100_train", "{task}_mt_train", "{task}_train")


TEST_FILES = ("{task}_16_100_test", "{task}_test")


DEMONSTRATION_FILE = "{task}_16_{seed}_train"
