"""Short nouns that are as common in code as in prose, so that small tokenizers of either have many of them whole."""

from .words import words

NOUNS = words(
    """
    name file path line text list key value type code time number string test result object message source version
    header option format mode module data base error context command method function filename exception argument
    field item index count size width table page word letter book door house garden river window bridge road
    market paper stone water light fire music color engine planet bottle basket mirror carpet lamp clock
    horse wolf tiger eagle mouse sheep apple lemon bread sugar coffee silver copper iron glass cotton
    """
)
