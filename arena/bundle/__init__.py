"""Bundles: complete runs in one file, for others to check, import and verify. docs/sharing.md."""

from arena.bundle.ranking import rank_verified
from arena.bundle.reading import Imported, ImportedRun, import_bundle
from arena.bundle.writing import Exported, export_runs, export_values

__all__ = ["Exported", "Imported", "ImportedRun", "export_runs", "export_values", "import_bundle", "rank_verified"]
