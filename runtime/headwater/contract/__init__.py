"""Contracts: schema, column types, codec. Never touches Kafka, never raises for bad data."""

from headwater.contract.schema import Contract, contract_path, load_contract, parse_contract

__all__ = ["Contract", "contract_path", "load_contract", "parse_contract"]
