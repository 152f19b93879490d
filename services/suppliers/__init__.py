"""Suppliers: whom a company pays, and where; removed without a gap in the past.

Owns       suppliers and their changes; copies of who may act for which company and of
           what suppliers were paid
Asks       nobody
Publishes  SupplierSaved, SupplierRemoved
Listens    to users (MembershipChanged) and transfers (created, completed, failed, cancelled,
           reversed)
"""
