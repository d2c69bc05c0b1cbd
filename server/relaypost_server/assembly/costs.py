"""What has to do with money."""

from relaypost_server.assembly.site import Site
from relaypost_server.flow.costs import CostReader
from relaypost_server.store.costs import PostgresCosts
from relaypost_server.store.database import Database


def build_reader(site: Site, database: Database) -> CostReader:
    return CostReader(PostgresCosts(database), site.config.tariffs, clock=site.clock)
