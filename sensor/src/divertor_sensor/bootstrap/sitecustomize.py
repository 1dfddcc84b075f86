"""Starts the sensor where no `.pth` file does (`divertor-sensor run` puts this directory on PYTHONPATH).

It hides any other `sitecustomize`, and therefore runs that one as well, as if it had not been there.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _run_hidden() -> None:
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


try:
    from divertor_sensor.autostart import start
except ImportError as problem:
    print(f"divertor_sensor: not started: {problem}", file=sys.stderr)
else:
    start()
_run_hidden()
