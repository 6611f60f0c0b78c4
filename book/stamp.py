"""Write into _config.yml where the book is published.

python book/stamp.py _config.yml OWNER/NAME BRANCH COMMIT

Run by the publishing workflow, with its own repository. The sources name none,
so that a fork's pages point to the fork, and pages built elsewhere have no
button that leads nowhere. The pages say which commit they were built from.
The edit buttons need a branch: GitHub edits no file of a bare commit.
"""

import re
import sys
from pathlib import Path

import yaml

NOTEBOOKS = "notebooks"  # the branch of the plain notebooks that Colab opens


def site(repository: str) -> str:
    """Address of the published pages of a repository, such as OWNER/NAME."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise SystemExit(
            f"repository: expected OWNER/NAME, found {repository!r}"
        )
    owner, name = repository.split("/")
    host = f"{owner.lower()}.github.io"
    if name.lower() == host:  # a user's own site is published at the root
        return f"https://{host}/"
    return f"https://{host}/{name}/"


def check_commit(commit: str) -> None:
    """Refuse what is no hash."""
    if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        raise SystemExit(f"commit: expected a hash, found {commit!r}")


def stamped(config: dict, repository: str, branch: str, commit: str) -> dict:
    """The configuration with the addresses of ``repository``."""
    address = site(repository)
    check_commit(commit)
    config["repository"] = {
        "url": f"https://github.com/{repository}",
        "branch": branch,
    }
    config["launch_buttons"] = {
        "colab_url": "https://colab.research.google.com"
    }
    config.setdefault("html", {}).update(
        baseurl=address,
        use_repository_button=True,
        use_issues_button=True,
        use_edit_page_button=True,
    )
    config["sphinx"]["config"].update(
        notebooks_branch=NOTEBOOKS, built_from=commit
    )
    return config


def main() -> None:
    """Rewrite the file named first."""
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    path = Path(sys.argv[1])
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    text = yaml.safe_dump(stamped(config, *sys.argv[2:]), sort_keys=False)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
