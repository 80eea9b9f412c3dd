"""What a layer outside the library is made of; nothing else of ntcore's inside is public.

A layer is a frozen dataclass made by :func:`record`, of one of three roles:

:class:`Elementwise`
    a nonlinearity: ``dual`` (both moments), ``fn`` and ``derivative``;
:class:`Linear`
    what mixes positions: ``need`` and ``mix``, with ``coefficients`` where it has weights, and
    ``forward`` and ``backward`` for networks of finite width;
:class:`Layer`
    anything else: ``push`` itself.

Every array function comes from ``at.xp``, a namespace of the Array API standard, so that one layer
runs on every library. Fields that may be learned are declared with :func:`leaf`. An instance
goes straight into ``stax.serial``, and ``python -m ntcore.conformance --layers
my_module:MyLayer`` puts the class, with what its ``examples()`` returns, through the checks that
ntcore's own layers pass.
"""

from ntcore.backend import Array as Array
from ntcore.backend import Place as Place
from ntcore.backend import host as host
from ntcore.cov import Cov as Cov
from ntcore.cov import Layout as Layout
from ntcore.cov import read as read
from ntcore.cov import sandwich as sandwich
from ntcore.cov import select as select
from ntcore.cov import spread as spread
from ntcore.cov import variances as variances
from ntcore.cov import weigh as weigh
from ntcore.layers.base import Coefficients as Coefficients
from ntcore.layers.base import Elementwise as Elementwise
from ntcore.layers.base import Layer as Layer
from ntcore.layers.base import Linear as Linear
from ntcore.layers.base import Run as Run
from ntcore.moments import FRESH as FRESH
from ntcore.moments import Context as Context
from ntcore.moments import Moments as Moments
from ntcore.moments import Traits as Traits
from ntcore.need import Need as Need
from ntcore.need import diagonal as diagonal
from ntcore.need import everything as everything
from ntcore.ops import angle as angle
from ntcore.ops import matmul as matmul
from ntcore.ops import residual as residual
from ntcore.record import leaf as leaf
from ntcore.record import record as record
from ntcore.record import settle as settle
from ntcore.shape import Axes as Axes
from ntcore.shape import Shape as Shape
from ntcore.shape import default_axes as default_axes
