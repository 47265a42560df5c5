"""Federated distillation with NVFlare, simulated on one machine: sites of two or more dataset folders, FedAvg.

    python scripts/nvflare/job.py site-1=D1:T1/model.pt site-2=D2:T2/model.pt --out federation --rounds 20

Every site is its name, a dataset folder of ``kdmri prepare`` and the teacher that was trained on it. The mean weights
are at the end in ``federation/kdmri/server/simulate_job/app_server/FL_global_model.pt``; they evaluate like those of
any other student (docs/sharing.md). Written for nvflare 2.9; ``pip install nvflare==2.9.*`` beside this package.
"""

import argparse
from pathlib import Path

from monai.bundle import ConfigParser
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv
from nvflare.recipe.utils import set_per_site_config

HERE = Path(__file__).resolve().parent
BUNDLE = HERE.parents[1] / "bundles" / "kd"


def site_arguments(site: str, given: argparse.Namespace) -> tuple[str, str]:
    """Name of a site, and the command line of its client.

    Args:
        site: ``NAME=DATASET:TEACHER``.
        given: Arguments of this script.

    Raises:
        ValueError: The text has another form, or a path has a blank in it.
    """
    name, mark, rest = site.partition("=")
    dataset, colon, teacher = rest.rpartition(":")
    if not (mark and colon and name and dataset and teacher):
        raise ValueError(f"{site!r} is no site: expected NAME=DATASET:TEACHER, like site-1=D1:T1/model.pt")
    words = ["--bundle", BUNDLE, "--dataset", Path(dataset).resolve(), "--teacher", Path(teacher).resolve()]
    words += ["--out", (given.out / "sites" / name).resolve(), "--rounds", given.rounds]
    words += ["--local-epochs", given.local_epochs]
    for overlay in given.overlay:
        words += ["--overlay", overlay]
    spaced = [str(word) for word in words if any(character.isspace() for character in str(word))]
    if spaced:
        raise ValueError(f"NVFlare splits the arguments of a client at blanks: {spaced[0]!r} cannot be passed")
    return name, " ".join(map(str, words))


def shipped_or_own(overlay: str) -> Path:
    """Path of a configuration: one of the bundle by its name, or a file."""
    shipped = BUNDLE / "configs" / f"{overlay}.json"
    return shipped if shipped.is_file() else Path(overlay).resolve()


def student_definition(given: argparse.Namespace) -> dict[str, object]:
    """The student for the server, from the configuration that the clients use, as NVFlare wants it."""
    files = [BUNDLE / "configs" / "train.json", *given.overlay, BUNDLE / "configs" / "federated.json"]
    parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
    parser.parse()
    found = parser.get_parsed_content("network_def", instantiate=False).get_config()
    settings = {name: parser.get_parsed_content(f"network_def#{name}") for name in found if name != "_target_"}
    target = found["_target_"]
    return {"class_path": target if "." in target else f"monai.networks.nets.{target}", "args": settings}


def main() -> None:
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", nargs="+", help="NAME=DATASET:TEACHER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--local-epochs", type=int, default=1)
    parser.add_argument(
        "--overlay", action="append", default=[], type=shipped_or_own, help="terms_kd, or a JSON file of your own"
    )
    given = parser.parse_args()
    sites = dict(site_arguments(site, given) for site in given.sites)
    recipe = FedAvgRecipe(
        name="kdmri",
        model=student_definition(given),
        min_clients=len(sites),
        num_rounds=given.rounds,
        train_script=str(HERE / "client.py"),
        key_metric="balanced_accuracy",
    )
    set_per_site_config(recipe, {name: {"train_args": arguments} for name, arguments in sites.items()})
    run = recipe.execute(SimEnv(clients=list(sites), workspace_root=str(given.out.resolve())))
    print(f"{run.get_status()}: {run.get_result()}")


if __name__ == "__main__":
    main()
