"""Servers that speak the wire formats of SES v2, SNS, SQS and Twilio, keep an inbox, and misbehave on demand.

Product code never imports this package: it meets the simulators over HTTP, as provider accounts of mode `test`.
"""
