"""One block of second moments: the only package that knows the order of axes and the storage.

A block holds ``K[p, p']`` by cyclic diagonals: on each spatial axis row ``r`` holds the entries
``K[p, (p + r) mod size2]`` for every ``p``, so that the offset ``p' - p`` is ``r`` up to a
multiple of ``size2``. Nothing is stored twice, every row has one length whatever its offset, and
a full block has exactly ``size1 * size2`` entries per axis.

The array of a block has the axes ``(R1, P1, R2, P2, ..., n1, n2)``: rows and positions of each
spatial axis, then the examples, which are contiguous. A *paired* block compares example ``i`` of
one batch with example ``i`` of the other and has one example axis ``(..., n)``. A *dense* block,
for layers that are products with matrices, has the axes ``(n1, n2, P, Q)``; see
:mod:`ntcore.cov.matrices`.
"""

from ntcore.cov.dense import closed as closed
from ntcore.cov.dense import contract as contract
from ntcore.cov.dense import opened as opened
from ntcore.cov.dense import sandwich as sandwich
from ntcore.cov.examples import coincident as coincident
from ntcore.cov.examples import hide as hide
from ntcore.cov.examples import inverse_root as inverse_root
from ntcore.cov.examples import normalize as normalize
from ntcore.cov.examples import on_diagonal as on_diagonal
from ntcore.cov.examples import put_variances as put_variances
from ntcore.cov.examples import spread as spread
from ntcore.cov.examples import variances as variances
from ntcore.cov.features import Features as Features
from ntcore.cov.features import Tangents as Tangents
from ntcore.cov.features import features_of_inputs as features_of_inputs
from ntcore.cov.features import of_features as of_features
from ntcore.cov.features import tangent_of_features as tangent_of_features
from ntcore.cov.inputs import of_inputs as of_inputs
from ntcore.cov.layout import Cov as Cov
from ntcore.cov.layout import Layout as Layout
from ntcore.cov.layout import layout_of as layout_of
from ntcore.cov.layout import positions as positions
from ntcore.cov.layout import rows_of as rows_of
from ntcore.cov.read import Tap as Tap
from ntcore.cov.read import affine as affine
from ntcore.cov.read import read as read
from ntcore.cov.read import total as total
from ntcore.cov.read import weigh as weigh
from ntcore.cov.rows import joined as joined
from ntcore.cov.select import select as select
from ntcore.cov.user import diagonal_of_user as diagonal_of_user
from ntcore.cov.user import diagonal_to_user as diagonal_to_user
from ntcore.cov.user import of_user as of_user
from ntcore.cov.user import to_user as to_user
