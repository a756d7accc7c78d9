"""`python -m unittest discover tools/benchmark`: the arithmetic between measurements and the page."""

from __future__ import annotations

import unittest

import costs
import measurements
import page
import targets
import work


def contestant(*seconds: float, peak_gib: float = 1.0) -> dict:
    report = {"wall_seconds": list(seconds), "peak_rss_bytes": int(peak_gib * 2**30)}
    return measurements.summary([report], "now")


class Targets(unittest.TestCase):
    def test_the_comparison_is_with_the_fastest_of_a_kind(self) -> None:
        tuned = {"tuned f32": contestant(8, 9, 100), "tuned f32, compiled": contestant(6), "tuned bf16": contestant(1)}
        rows = {"step-50": {"contestants": {"ueo f32": contestant(3)} | tuned}}
        target = next(t for t in targets.TARGETS if t.what == "step f32, 50 classes, against PyTorch f32 at its fastest")
        self.assertEqual(target.evaluate(rows), (2.0, True))
        self.assertEqual(target.evaluate(rows, has_amx=True), (2.0, True))

    def test_a_target_without_measurements_has_no_verdict(self) -> None:
        for target in targets.TARGETS:
            if target.value is not targets.image_passes:
                self.assertEqual(target.evaluate({}), (None, None))
        rows = {"step-50": {"contestants": {"ueo f32": contestant(3)}}}
        self.assertEqual(targets.TARGETS[0].evaluate(rows), (None, None))

    def test_a_machine_with_tiles_has_targets_of_its_own(self) -> None:
        times = {"ueo bf16": contestant(10), "tuned bf16": contestant(14.5)}
        rows = {"step-50": {"contestants": times}}
        self.assertEqual([targets.TARGETS[0].evaluate(rows, amx)[1] for amx in (False, True)], [True, False])

    def test_the_slowest_row_decides_whether_bf16_is_slower(self) -> None:
        fast = {"ueo f32": contestant(4), "ueo bf16": contestant(2)}
        slow = {"ueo f32, last-4": contestant(1), "ueo bf16, last-4": contestant(2)}
        rows = {"step-50": {"contestants": fast}, "kept": {"contestants": slow}}
        self.assertEqual(targets.never_slower(rows), 0.5)

    def test_memory_is_bounded_from_above(self) -> None:
        rows = {"memory": {"contestants": {"ueo f32": contestant(1, peak_gib=2), "tuned f32": contestant(1, peak_gib=8)}}}
        target = next(t for t in targets.TARGETS if t.what.endswith("of tuned PyTorch's"))
        self.assertEqual(target.evaluate(rows), (0.25, True))

    def test_two_threads_in_half_the_time_are_fully_efficient(self) -> None:
        times = {"ueo f32, 1 thread": contestant(10), "ueo f32, 2 threads": contestant(5)}
        self.assertEqual(targets.efficiency("f32")({"threads": {"contestants": times}}), 100)

    def test_the_best_rate_takes_the_best_of_each_product(self) -> None:
        ours = {"ueo f32": dict.fromkeys(work.block_products(), 100.0)}
        theirs = {"torch f32": dict.fromkeys(work.block_products(), 50.0), "torch bf16": dict.fromkeys(work.block_products(), 900.0)}
        reports = {"ueo and gemm": ours, "numpy and PyTorch": theirs}
        contestants = {name: {"report": {"gflops_per_sec": rates}} for name, rates in reports.items()}
        rows = {"products": {"contestants": contestants}}
        self.assertAlmostEqual(targets.best_rate(rows, "f32"), 100)
        self.assertAlmostEqual(targets.product_share("f32")(rows), 100)


class Costs(unittest.TestCase):
    def test_epochs_are_those_of_the_program(self) -> None:
        self.assertEqual([costs.epochs(images) for images in (100, 1_000, 10_000, 100_000)], [50, 50, 16, 5])

    def test_a_job_is_two_passes_its_steps_and_what_is_computed_once(self) -> None:
        times = {"whole step": 17, "last-4": 9, "context": 1, "encoding": 6}
        contestants = {f"ueo f32, {name}": contestant(seconds / targets.THREADS) for name, seconds in times.items()}
        rows = {"kept": {"contestants": contestants}}
        whole, last = (next(way for way in costs.WAYS if way.step == step) for step in ("whole step", "last-4"))
        passes, steps = 2 * 640 * 6 / 16, 50 * 10
        self.assertAlmostEqual(costs.processor_seconds(rows, whole, 640), passes + steps * (64 + 1))
        once = 4 * 640 * (8 / 12) * 6 / 16
        self.assertAlmostEqual(costs.processor_seconds(rows, last, 640), passes + once + steps * (32 + 1))


class Measurements(unittest.TestCase):
    def test_appended_rounds_share_one_median(self) -> None:
        both = measurements.appended(contestant(1, 2, peak_gib=3), contestant(9, peak_gib=2))
        self.assertEqual((both["median_seconds"], both["rounds"], both["peak_memory_bytes"]), (2, 2, 3 * 2**30))

    def test_times_of_different_sittings_are_not_compared(self) -> None:
        later = contestant(8) | {"sitting": "later"}
        table = page.times(64, {"ueo f32": contestant(2), "tuned f32": contestant(4), "released way f32": later})
        self.assertIn("| tuned f32 | 4.00 | 16.00 | 2.00 | 1.00 |", table)
        self.assertIn("| released way f32 | 8.00 | 8.00 |  | 1.00 |", table)

    def test_what_failed_is_said(self) -> None:
        failed = measurements.summary([{"failed": "more than 18 GiB"}], "now")
        table = page.times(64, {"ueo f32": contestant(2), "released way f32": failed})
        self.assertIn("| released way f32 | more than 18 GiB |", table)


class Work(unittest.TestCase):
    def test_a_vision_tower_has_the_published_size(self) -> None:
        # ViT-B/16 is published with 17.6 G multiplications and additions per image of 197 tokens, whole last block included.
        embedding, linear, attention = work.vision_forward(1)
        last_block = 20 * work.WIDTH**2 * work.PATCHES + 4 * work.WIDTH * 197 * work.PATCHES
        self.assertAlmostEqual((embedding + linear + attention + last_block) / 2 / 1e9, 17.6, delta=0.1)

    def test_classes_add_only_their_own_tokens(self) -> None:
        growth = work.step_flops(16, 345) - work.step_flops(16, 50)
        # Whole blocks for all tokens but the last one, of which only [EOS] needs more than keys and values.
        whole = (work.TEXT_LAYERS - 1) * work.OWN_TOKENS * 24
        last = work.OWN_TOKENS * 4 + 20
        per_class = 2 * (whole + last) * work.TEXT_WIDTH**2
        self.assertAlmostEqual(growth / (295 * per_class), 1.0, delta=0.01)


if __name__ == "__main__":
    unittest.main()
