"""The base of testers in this host: Pointcept's where the plugin runs inside it, else the embedded one."""

from pointcept_bsa.host import HOST

if HOST == "pointcept":
    from pointcept_bsa.host.pointcept.tester import TesterBase
else:
    from pointcept_bsa.training.evaluation.embedded_tester import TesterBase  # type: ignore[assignment]

__all__ = ["TesterBase"]
