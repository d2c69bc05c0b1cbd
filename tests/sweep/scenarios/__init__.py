"""What the sweep lets go wrong: every scenario by its name."""

from collections.abc import Mapping

from tests.sweep.scenarios import direct, otp, queued, reports, start
from tests.sweep.scenarios.base import Scenario

SCENARIOS: Mapping[str, type[Scenario]] = {
    kind.name: kind
    for kind in (
        direct.Unkeyed,
        direct.Keyed,
        direct.Failover,
        direct.Spooled,
        otp.SendAndVerify,
        otp.Resend,
        queued.Enqueue,
        queued.Work,
        queued.Retry,
        queued.Scheduled,
        queued.OtherEngine,
        queued.Bulk,
        queued.Cancel,
        queued.Requeue,
        direct.Resolve,
        reports.Receipt,
        reports.Confirmation,
        reports.Webhook,
        start.Background,
        start.Migration,
    )
}
