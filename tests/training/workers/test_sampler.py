from __future__ import annotations

import random

from engine.sweeps.ranges import NumberRange, read_range
from engine.sweeps.sampling import Observation
from engine.training.workers.sampler import ObservedStudy

RANGES = [
    read_range("lora.r", "8, 16, 32"),
    read_range("train.learning_rate", "1e-5..1e-3 log"),
    read_range("lora.target_modules", "q_proj, v_proj | all-linear"),
]


def random_point(chance: random.Random) -> dict[str, str]:
    rates = RANGES[1]
    assert isinstance(rates, NumberRange)
    return {
        "lora.r": chance.choice(("8", "16", "32")),
        "train.learning_rate": rates.text_of(10 ** chance.uniform(-5, -3)),
        "lora.target_modules": chance.choice(("q_proj, v_proj", "all-linear")),
    }


def test_kept_study_samples_as_a_new_one() -> None:
    """Trials that run, finish and fail, some outside the ranges, are seen alike by a study that saw them come."""
    chance, kept = random.Random(3), ObservedStudy(RANGES)
    observations: list[Observation] = []
    for seed in range(40):
        observations = [
            Observation(each.point, chance.random(), "finished")
            if each.state == "open" and chance.random() < 0.5
            else each
            for each in observations
        ]
        observations = [
            Observation(each.point, None, "failed") if each.state == "open" and chance.random() < 0.1 else each
            for each in observations
        ]
        point = {"lora.r": "64", "train.learning_rate": "1e-4"} if seed % 7 == 3 else random_point(chance)
        observations.append(Observation(point, None, "open"))
        new = ObservedStudy(RANGES)
        assert kept.update(observations, RANGES) and new.update(observations, RANGES)
        assert kept.sample("tpe", seed) == new.sample("tpe", seed)


def test_study_is_made_anew_for_another_past() -> None:
    study = ObservedStudy(RANGES)
    point = random_point(random.Random(0))
    assert study.update([Observation(point, 1.0, "finished")], RANGES)
    assert not study.update([Observation(point, 2.0, "finished")], RANGES)
    assert not study.update([], RANGES)
    assert not study.update([Observation(point, 1.0, "finished")], RANGES[:2])
