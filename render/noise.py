"""Where the tables of noise were: `manifests.noise` holds them now, this name goes away."""

from manifests.noise import share_of_noise as share_of_noise
from manifests.noise import table_of as table_of
from manifests.noise import timestep_of as timestep_of
