"""The command that packs a student for other laboratories."""

from pathlib import Path
from typing import Annotated

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user


@app.command()
def pack(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, evaluated and best examined.")],
    out: Annotated[Path, typer.Option(help="NAME.zip; the bundle is called NAME.")],
    version: Annotated[str, typer.Option(help="Of the bundle: three parts of one digit.")] = "0.1.0",
    changes: Annotated[str, typer.Option(help="What is new in this version.")] = "first version",
    authors: Annotated[str, typer.Option(help="Who packs it, and whose the weights are.")] = "Who packed this bundle",
    forms: Annotated[
        str, typer.Option(help="Files of models/ beside model.pt, joined by commas; all by default: "
                               "model.safetensors,model.ts,model.onnx,model.pt2.")
    ] = "model.safetensors,model.ts,model.onnx,model.pt2",
    program: Annotated[
        bool, typer.Option("--program", help="Pack the exported program, for a network that MONAI alone cannot build.")
    ] = False,
    with_package: Annotated[
        bool, typer.Option("--with-package", help="Allow networks of this package: only who has it can use the bundle.")
    ] = False,
    data_license: Annotated[
        str | None, typer.Option(help="File with the licence of the training data, or figshare for the published set.")
    ] = None,
    sign: Annotated[Path | None, typer.Option(help="Private Ed25519 key, PEM or OpenSSH, that signs it.")] = None,
) -> None:  # fmt: skip
    """Pack the student of a run: weights in every form, configuration without code, cards, licences, checksums."""
    with told_to_the_user(), console.status("packing") as status:
        from kdmri_monai.sharing.audit import audit
        from kdmri_monai.sharing.pack import pack
        from kdmri_monai.sharing.pack_options import PackOptions

        chosen = tuple(form.strip() for form in forms.split(",") if form.strip())
        options = PackOptions(version, changes, authors, chosen, program, data_license, sign, with_package)
        packed = pack(run, out, options, lambda step: status.update(f"packing: {step}"))
        status.update("audit")
        safe = audit(out).safe
    for name, gap in packed.gaps.items():
        size = packed.sizes[f"models/{name}"] / 1e6
        parity = "the network's probabilities" if gap == 0 else f"probabilities within {gap:.0e} of the network's"
        typer.echo(f"models/{name}: {size:.2f} MB, {parity}")
    typer.echo(f"temperature: {packed.temperature:.3f}, {packed.calibration}")
    typer.echo(f"trust profile: {packed.trust}")
    for remark in packed.remarks:
        typer.echo(f"note: {remark}")
    typer.echo(f"audit: {'safe' if safe else 'NOT safe, see kdmri audit'}")
    typer.echo(f"{packed.path}: {packed.path.stat().st_size / 1e6:.2f} MB, {len(packed.sizes)} files")
    typer.echo(f"next: kdmri audit {packed.path}; kdmri predict {packed.path} FILE...")
