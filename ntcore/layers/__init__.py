"""The layers, one file per family; a class exported here is a layer of ``ntcore.stax``."""

from ntcore.layers.conv import Conv as Conv
from ntcore.layers.dense import Dense as Dense
from ntcore.layers.erf import Erf as Erf
from ntcore.layers.fan import FanInSum as FanInSum
from ntcore.layers.fan import FanOut as FanOut
from ntcore.layers.flatten import Flatten as Flatten
from ntcore.layers.global_pool import GlobalAvgPool as GlobalAvgPool
from ntcore.layers.global_pool import GlobalSumPool as GlobalSumPool
from ntcore.layers.identity import Identity as Identity
from ntcore.layers.pool import AvgPool as AvgPool
from ntcore.layers.pool import SumPool as SumPool
from ntcore.layers.rectifier import ABRelu as ABRelu
from ntcore.layers.rectifier import Abs as Abs
from ntcore.layers.rectifier import LeakyRelu as LeakyRelu
from ntcore.layers.rectifier import Relu as Relu
