"""The conformance suite: every layer on every backend, found by themselves.

``python -m ntcore.conformance --backend torch`` prints a table of layers and checks in units of
the tolerance. A third party checks a layer or a backend of its own by

.. code-block:: python

    from ntcore import conformance

    report = conformance.run("numpy", layers=[MyLayer])  # every built-in layer by default
    report = conformance.run(MY_BACKEND)  # a Backend record, registered or not
    print(report)
    assert not report.failed
"""

from ntcore.conformance.report import Report as Report
from ntcore.conformance.runner import run as run
