"""Where the noise levels were: `manifests.schedules` holds them now, this name goes away."""

from manifests.schedules import cfg_at as cfg_at
from manifests.schedules import end_sigma as end_sigma
from manifests.schedules import model_calls as model_calls
from manifests.schedules import sigmas as sigmas
from manifests.schedules import split_sigmas as split_sigmas
from manifests.schedules import stage_sigmas as stage_sigmas
from manifests.schedules import start_sigma as start_sigma
