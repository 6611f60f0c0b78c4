"""Write into _config.yml where the book is published.

python book/stamp.py _config.yml OWNER/NAME BRANCH

Run by the publishing workflow, with its own repository. The sources name none,
so that a fork's pages point to the fork, and pages built elsewhere have no
button that leads nowhere.
"""

import re
import sys
from pathlib import Path

import yaml

NOTEBOOKS = "notebooks"  # the branch of the plain notebooks that Colab opens


def stamped(config: dict, repository: str, branch: str) -> dict:
    """The configuration with the addresses of ``repository``."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise SystemExit(f"repository: expected OWNER/NAME, got {repository}")
    owner, name = repository.split("/")
    config["repository"] = {
        "url": f"https://github.com/{repository}",
        "branch": branch,
    }
    config["launch_buttons"] = {
        "colab_url": "https://colab.research.google.com"
    }
    config.setdefault("html", {}).update(
        baseurl=f"https://{owner.lower()}.github.io/{name}/",
        use_repository_button=True,
        use_issues_button=True,
        use_edit_page_button=True,
    )
    config["sphinx"]["config"]["notebooks_branch"] = NOTEBOOKS
    return config


def main() -> None:
    """Rewrite the file named first."""
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    path, repository, branch = Path(sys.argv[1]), *sys.argv[2:]
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    text = yaml.safe_dump(stamped(config, repository, branch), sort_keys=False)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
