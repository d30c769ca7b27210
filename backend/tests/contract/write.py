"""`make contract`: write what the code says into the documents."""

from src.config import ROOT
from tests.contract.generated import documents


def main() -> None:
    for path, text in documents():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"written: {path.relative_to(ROOT)}")  # noqa: T201 — for the person at make


if __name__ == "__main__":
    main()
