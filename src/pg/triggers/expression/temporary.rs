//! Finds objects of pg_temp in an expression that is kept as text. In another session the text would mean nothing, or another object of
//! the same name.

use std::ffi::c_void;

use pgrx::prelude::*;

unsafe extern "C-unwind" {
    /// nodes/nodeFuncs.h: calls the function for each part of an expression that has been analysed.
    #[cfg_attr(
        not(any(feature = "pg14", feature = "pg15")),
        link_name = "expression_tree_walker_impl"
    )]
    fn expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
}

/// catalog/pg_ts_config.h and pg_ts_dict.h: TSConfigRelationId and TSDictionaryRelationId, which pgrx does not bind.
const TEXT_SEARCH_CONFIGURATIONS: pg_sys::Oid = pg_sys::Oid::from_u32(3602);
const TEXT_SEARCH_DICTIONARIES: pg_sys::Oid = pg_sys::Oid::from_u32(3600);

/// # Safety
/// An expression that has been analysed, inside a transaction.
pub unsafe fn mentions_temporary(expression: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's promise.
    unsafe { find(expression, std::ptr::null_mut()) }
}

/// # Safety
/// A part of such an expression, or null.
#[pg_guard]
unsafe extern "C-unwind" fn find(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    use pg_sys::NodeTag;
    if node.is_null() {
        return false;
    }
    // SAFETY: the caller's promise; a node of a tag has that tag's type.
    unsafe {
        let named = match (*node).type_ {
            NodeTag::T_Const => {
                let constant = &*node.cast::<pg_sys::Const>();
                let named = if constant.constisnull {
                    pg_sys::InvalidOid
                } else {
                    // Of a type that names something, its OID; what else it is nobody looks at.
                    pg_sys::Oid::from_u32(constant.constvalue.value() as u32)
                };
                is_temporary(pg_sys::TypeRelationId, constant.consttype)
                    || is_temporary(class_of_names(constant.consttype), named)
            }
            NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
                is_temporary(pg_sys::OperatorRelationId, (*node.cast::<pg_sys::OpExpr>()).opno)
            }
            NodeTag::T_ScalarArrayOpExpr => is_temporary(
                pg_sys::OperatorRelationId,
                (*node.cast::<pg_sys::ScalarArrayOpExpr>()).opno,
            ),
            NodeTag::T_CollateExpr => is_temporary(
                pg_sys::CollationRelationId,
                (*node.cast::<pg_sys::CollateExpr>()).collOid,
            ),
            // Where a type is written.
            NodeTag::T_FuncExpr
            | NodeTag::T_RelabelType
            | NodeTag::T_CoerceViaIO
            | NodeTag::T_ArrayCoerceExpr
            | NodeTag::T_ConvertRowtypeExpr
            | NodeTag::T_CoerceToDomain
            | NodeTag::T_RowExpr
            | NodeTag::T_ArrayExpr
            | NodeTag::T_FieldSelect => is_temporary(pg_sys::TypeRelationId, pg_sys::exprType(node)),
            _ => false,
        };
        named
            || pg_sys::check_functions_in_node(node, Some(is_temporary_function), std::ptr::null_mut())
            || pg_sys::ffi::pg_guard_ffi_boundary(|| expression_tree_walker(node, find, context))
    }
}

/// What a constant of such a type names, which is written by its name.
fn class_of_names(of: pg_sys::Oid) -> pg_sys::Oid {
    match of {
        pg_sys::REGCLASSOID => pg_sys::RelationRelationId,
        pg_sys::REGTYPEOID => pg_sys::TypeRelationId,
        pg_sys::REGPROCOID | pg_sys::REGPROCEDUREOID => pg_sys::ProcedureRelationId,
        pg_sys::REGOPEROID | pg_sys::REGOPERATOROID => pg_sys::OperatorRelationId,
        pg_sys::REGCOLLATIONOID => pg_sys::CollationRelationId,
        pg_sys::REGCONFIGOID => TEXT_SEARCH_CONFIGURATIONS,
        pg_sys::REGDICTIONARYOID => TEXT_SEARCH_DICTIONARIES,
        pg_sys::REGNAMESPACEOID => pg_sys::NamespaceRelationId,
        _ => pg_sys::InvalidOid,
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn is_temporary_function(function: pg_sys::Oid, _context: *mut c_void) -> bool {
    is_temporary(pg_sys::ProcedureRelationId, function)
}

/// Whether an object of that catalog is in a pg_temp.
fn is_temporary(class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    if class == pg_sys::InvalidOid || object == pg_sys::InvalidOid {
        return false;
    }
    // SAFETY: look-ups in the system cache, inside a transaction.
    unsafe {
        let schema = if class == pg_sys::NamespaceRelationId {
            object
        } else {
            let address = pg_sys::ObjectAddress {
                classId: class,
                objectId: object,
                objectSubId: 0,
            };
            pg_sys::get_object_namespace(&raw const address)
        };
        schema != pg_sys::InvalidOid && pg_sys::isAnyTempNamespace(schema)
    }
}
