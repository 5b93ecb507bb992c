"""Carry images, trees and packages between stores, folders and registries, each checked by its digest on arrival."""
