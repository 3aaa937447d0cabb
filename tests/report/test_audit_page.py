"""An audit as people read it: both orders, how well they agree, and what follows."""

from report_golden import assert_golden

from nas.report import audit

UNKNOWN = {"estimate": 0.4, "low": None, "high": None}


def told(tau, low, high, n=6, **changes):
    signal = [0.97, 0.95, 0.95, 0.9, 0.85, 0.2][:n]
    full = [{"reward": 0.991}, {"reward": 0.995}, None, {"reward": 0.985}, {"reward": 0.99}, {"reward": 0.97}][:n]
    trials = [
        {"trial": 40 - at, "rank": 1 + 7 * at, "epochs": 3, "signal": {"reward": signal[at]}, "full": full[at],
         "failure": None if full[at] else "diverged", "dtype": "float32", "full_dtype": "float32"}
        for at in range(n)
    ]  # fmt: skip
    found = {"kendall": {"estimate": tau, "low": low, "high": high}, "spearman": UNKNOWN | {"estimate": 0.6}}
    plain = {"epochs": 27, "of": 43, "trials": trials, "agreement": {"reward": found}, "threshold": 0.5}
    return plain | {"low": tau is None or tau < 0.5} | changes


def test_a_page_is_as_pinned():
    assert_golden(audit.page(told(0.2, -0.63, 0.82), "runs/digits"), "audit.txt")


def test_a_sample_of_several_dtypes_is_told_apart():
    # An order that bf16 changed would be read as one that length changed.
    mixed = told(0.7, 0.1, 0.9)
    mixed["trials"][1] |= {"full_dtype": "bfloat16"}
    page = " ".join(audit.page(mixed, "runs/digits").split())
    assert "a small difference may be the dtype's. In the search float32, in full float32: trials 40, 38, 37" in page
    assert "; float32, in full bfloat16: trials 39." in page


def test_what_follows_depends_on_tau_and_on_how_well_it_is_known():
    assert "a larger --sample would say more" in audit.verdict(told(0.7, 0.1, 0.9))
    assert "a larger --sample would say more" in audit.verdict(told(0.7, None, None, n=4))
    assert "larger" not in audit.verdict(told(0.8, 0.6, 0.9))
    assert "Let it train longer" in audit.verdict(told(0.3, 0.1, 0.5))
    assert "between 0.9700 and 0.9950" in audit.verdict(told(0.3, 0.1, 0.5))


def test_a_warning_names_every_low_audit_and_nothing_else():
    low = {"epochs": 27, "trials": 8, "kendall": 0.214, "low": True}
    several = low | {"kendall": {"accuracy": 0.1, "flops": 1.0}, "trials": 9}
    assert audit.warning([{}, low | {"low": False}]) == ""
    assert "Kendall's tau-b 0.21 (8 trials), 0.10 by accuracy, 1.00 by flops (9 trials)." in audit.warning(
        [{}, low, low, several]
    )
