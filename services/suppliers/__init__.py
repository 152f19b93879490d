"""Suppliers: whom a company pays, and where; removed without a gap in the past.

Owns       suppliers and their changes; a copy of who may act for which company
Asks       nobody
Publishes  SupplierSaved, SupplierRemoved
Listens    to users (MembershipChanged)
"""
