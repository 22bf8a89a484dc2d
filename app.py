"""The CDK app: `cdk deploy` starts here. What may be chosen is in infra/settings.py."""

import json
import sys
from pathlib import Path

from aws_cdk import App
from aws_cdk.aws_lambda import AssetCode

from infra.assembly import add_stacks
from infra.bundling import SMALL, BundleError, make_bundle
from infra.functions import FUNCTIONS
from infra.settings import SettingsError, read_settings

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write out the app's templates and assets."""
    # The CDK's command line brings cdk.json's context; `python app.py` alone reads it here.
    app = App(context=json.loads((HERE / "cdk.json").read_text())["context"])
    try:
        settings = read_settings(app.node.get_all_context())
        bundles = [make_bundle(settings.bundle, small=small) for small in (False, True)]
    except (SettingsError, BundleError) as error:
        sys.exit(f"hut: {error}")
    whole, small = (
        AssetCode(str(bundle.path), asset_hash=bundle.digest, exclude=["**/__pycache__"])
        for bundle in bundles
    )
    code = {name: small if name in SMALL else whole for name in FUNCTIONS}
    add_stacks(app, settings, code)
    app.synth()


main()
